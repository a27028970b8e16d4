"""What the scenario families share; nothing here knows one of them."""
