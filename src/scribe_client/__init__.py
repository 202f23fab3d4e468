"""What the client is made of. It talks to an endpoint and a bucket; of the worker it knows the job and the formats."""
