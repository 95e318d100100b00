"""Terra-CoT: labelled scenes, questions with traces and masks, batches, and tables of them."""
