"""The bytes of a release, kept as it wrote them: versions beside each other have to read them."""
