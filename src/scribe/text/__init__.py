"""What a text says by itself, without sound or model. Pure."""
