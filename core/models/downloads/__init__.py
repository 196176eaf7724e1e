"""Downloads: a queue that outlives the process, into the ordinary Hub cache."""
