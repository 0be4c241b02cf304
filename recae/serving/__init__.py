"""The HTTP API and its page (`pip install 'recae[serve]'`)."""
