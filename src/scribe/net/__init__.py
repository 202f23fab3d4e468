"""Check the URLs that a job names and request them safely; the only room that opens sockets."""
