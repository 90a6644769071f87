// Follows the link of a page that replaces a redirect, and keeps the fragment as a redirect would.
"use strict";

const link = document.querySelector("a[data-onward]");

if (link) location.replace(link.hash ? link.href : link.href + location.hash);
