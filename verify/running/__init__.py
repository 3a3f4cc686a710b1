"""One case or many: settings, what is prepared once, what is kept between runs, processes."""
