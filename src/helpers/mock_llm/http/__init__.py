"""HTTP/1.1 and HTTP/2: connections, and which protocol each speaks."""
