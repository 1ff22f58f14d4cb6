"""model -> compiled Table: host by dict, then path; precedence is one comparable value. Pure."""
