<?php

// Answers with a greeting and with where it ran.
return function (array $event, LambdaContext $context): array {
    return [
        'message' => 'Hello, ' . ($event['name'] ?? 'stranger') . '!',
        'php' => PHP_VERSION,
        'request' => $context->awsRequestId,
    ];
};
