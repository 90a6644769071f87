// Follows the link of a page that stands in for a redirect, and carries the fragment along as a redirect does.
"use strict";

const link = document.querySelector("a[data-onward]");

if (link) location.replace(link.hash ? link.href : link.href + location.hash);
