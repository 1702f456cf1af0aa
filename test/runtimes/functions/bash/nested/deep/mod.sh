handler() { echo "\"nested\""; }
