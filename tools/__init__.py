"""What the project itself needs and the package does not ship: a Kafka broker on loopback."""
