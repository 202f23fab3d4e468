"""Read, write and presign objects in S3 and R2; the only room that imports boto3."""
