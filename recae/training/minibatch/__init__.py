"""Training by mini-batches through autograd: networks, losses, batches, optimisers."""
