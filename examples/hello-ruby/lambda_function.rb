# Answers with a greeting and with where it ran.
def lambda_handler(event:, context:)
  {
    message: "Hello, #{event.fetch('name', 'stranger')}!",
    ruby: RUBY_VERSION,
    request: context.aws_request_id
  }
end
