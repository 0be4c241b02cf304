"""Mini-batch training through autograd: networks, losses, output layers, optimiser, trainer."""
