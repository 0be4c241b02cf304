"""Updating: what changes a trained model: new purchases, customers who are forgotten, and the nightly job."""
