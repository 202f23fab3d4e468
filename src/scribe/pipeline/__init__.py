"""The order of a job's steps over the models. Knows no URL, no S3, no file format."""
