"""One job from request to answer, on no particular platform."""
