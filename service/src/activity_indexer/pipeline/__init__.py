"""decode → dedup → enrich → batch → index → settle: values in, values out."""
