"""S3 and R2: objects, presigned links, results of earlier runs; the only room that imports boto3."""
