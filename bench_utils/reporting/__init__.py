"""From a notebook to a published page: execution, display, rendering, the privacy gate and the site."""
