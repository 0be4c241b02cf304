"""What a model reveals about customers and products: explanations, neighbours, anomalies, embeddings, maps."""
