"""Training in several processes: by torchrun or on a Ray cluster, each with a part of the items."""
