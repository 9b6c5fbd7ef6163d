"""What the container image needs beside the application itself."""
