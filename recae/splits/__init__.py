"""Who and what is held out, by every protocol."""
