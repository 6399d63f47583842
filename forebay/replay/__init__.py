"""The whole loop on a virtual clock against recorded demand: the same decisions as in production, a simulated cloud."""
