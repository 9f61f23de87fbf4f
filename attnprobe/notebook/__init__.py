"""What a notebook shows of a value: pieces of HTML, made from its attributes alone."""
