"""How texts are kept at rest: encrypted if there are keys for it, in a file's place if they are long."""
