"""Simplified Chinese: 2026年3月3日 09:00 UTC."""

DATE_FORMAT = "Y年n月j日"
DATETIME_FORMAT = "Y年n月j日 H:i T"
MONTH_DAY_FORMAT = "n月j日"
TIME_FORMAT = "H:i"
