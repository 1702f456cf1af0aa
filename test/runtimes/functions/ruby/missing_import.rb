require 'no_such_library'
def handler(event:, context:) = nil
