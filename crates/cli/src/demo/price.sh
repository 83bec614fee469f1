total() { expr "$1" \* "$2"; }
