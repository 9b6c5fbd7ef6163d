"""What is asked and what came of it: job kinds with their inputs and outputs, and the ledger."""
