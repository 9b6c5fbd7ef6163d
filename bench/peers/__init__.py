"""The same job in other queues, each as its own documentation would have one write it; results are kept nowhere."""
