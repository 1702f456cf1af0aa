<?php

/** LambdaContext is the second argument of a handler. */
final class LambdaContext
{
    public readonly string $awsRequestId;
    public readonly string $invokedFunctionArn;
    public readonly string $functionName;
    public readonly string $functionVersion;
    public readonly int $memoryLimitInMB;
    public readonly string $logGroupName;
    public readonly string $logStreamName;
    public readonly ?string $tenantId;
    public readonly int $deadlineMs;
    /** The client's context and the identity, decoded as arrays. */
    public readonly ?array $clientContext;
    public readonly ?array $identity;

    public function __construct(array $headers)
    {
        $this->awsRequestId = $headers['lambda-runtime-aws-request-id'] ?? '';
        $this->invokedFunctionArn = $headers['lambda-runtime-invoked-function-arn'] ?? '';
        $this->tenantId = $headers['lambda-runtime-aws-tenant-id'] ?? null;
        $this->deadlineMs = (int) ($headers['lambda-runtime-deadline-ms'] ?? 0);
        $this->functionName = (string) getenv('AWS_LAMBDA_FUNCTION_NAME');
        $this->functionVersion = (string) getenv('AWS_LAMBDA_FUNCTION_VERSION');
        $this->memoryLimitInMB = (int) getenv('AWS_LAMBDA_FUNCTION_MEMORY_SIZE');
        $this->logGroupName = (string) getenv('AWS_LAMBDA_LOG_GROUP_NAME');
        $this->logStreamName = (string) getenv('AWS_LAMBDA_LOG_STREAM_NAME');
        $this->clientContext = self::parse($headers['lambda-runtime-client-context'] ?? '');
        $this->identity = self::parse($headers['lambda-runtime-cognito-identity'] ?? '');
    }

    public function getRemainingTimeInMillis(): int
    {
        return max(0, $this->deadlineMs - (int) (microtime(true) * 1000));
    }

    private static function parse(string $text): ?array
    {
        $value = json_decode($text, true);
        return is_array($value) ? $value : null;
    }
}
