"""Run the stages of a job over the loaded models; knows no URL, no S3, no file format."""
