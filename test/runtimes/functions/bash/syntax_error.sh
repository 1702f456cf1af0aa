handler() {
  if true
}
