"""How right the services are, measured on labelled data through the HTTP API of an embedded instance."""
