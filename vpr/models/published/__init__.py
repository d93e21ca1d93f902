"""Published models of torch.hub: an adapter for each, how their code is loaded, and what becomes of their output."""
