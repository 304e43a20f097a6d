"""One page of HTML to the pictures it names, and the words about them."""
