"""A recogniser that hears what text_to_speech says; needs the packages of requirements-listener.txt."""
