"""The web door: the ticketing receiver, the policy decision point, the operators' pages. FastAPI stays in here."""
