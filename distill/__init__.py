"""Training of the structural model: losses, mining, and the training loop."""
