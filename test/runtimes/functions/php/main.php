<?php

// A function that does what its event says: {"do": "echo", ...}. The verbs are
// those of the other languages beside this folder.

class Custom extends Exception
{
}

final class State
{
    public static int $count = 0;
    public static array $kept = [];
}

function handler(object|array|string|int|float|bool|null $event, LambdaContext $context): mixed
{
    if (!is_object($event) || !isset($event->do)) {
        return $event;
    }
    switch ($event->do) {
        case 'echo':
            return $event->value;
        case 'error':
            throw new Custom($event->message ?? 'went wrong', 0, new RuntimeException('the cause'));
        case 'exit':
            exit($event->code ?? 1);
        case 'crash':
            posix_kill(getmypid(), SIGSEGV);
            sleep(1);
            return null;
        case 'sleep':
            State::$count++;
            sleep($event->seconds ?? 3600);
            return 'woke';
        case 'oom':
            for (;;) {
                State::$kept[] = str_repeat('x', 8 << 20);
            }
        case 'big':
            return str_repeat('x', $event->bytes ?? 6 << 20);
        case 'size':
            return strlen($event->value ?? '');
        case 'count':
            return ['count' => ++State::$count, 'pid' => getmypid()];
        case 'env':
            return getenv();
        case 'server':
            return ['server' => $_SERVER, 'env' => $_ENV];
        case 'context':
            return [
                'aws_request_id' => $context->awsRequestId, 'function_name' => $context->functionName,
                'function_version' => $context->functionVersion, 'invoked_function_arn' => $context->invokedFunctionArn,
                'memory_limit_in_mb' => $context->memoryLimitInMB, 'log_group_name' => $context->logGroupName,
                'log_stream_name' => $context->logStreamName, 'remaining' => $context->getRemainingTimeInMillis(),
                'client_context' => $context->clientContext, 'identity' => $context->identity['cognitoIdentityId'] ?? null,
                'trace' => getenv('_X_AMZN_TRACE_ID'),
            ];
        case 'where':
            return [
                'cwd' => getcwd(), 'uid' => posix_getuid(), 'user' => posix_getpwuid(posix_getuid())['name'],
                'version' => PHP_VERSION, 'files' => get_included_files(), 'extensions' => get_loaded_extensions(),
            ];
        case 'files':
            if (isset($event->write)) {
                if (@file_put_contents($event->path, $event->write) === false) {
                    throw new Custom("cannot write {$event->path}");
                }
                return strlen($event->write);
            }
            return is_dir($event->path) ? array_values(array_diff(scandir($event->path), ['.', '..'])) :
                file_get_contents($event->path, false, null, 0, $event->limit ?? 65536);
        case 'log':
            $line = str_repeat(str_repeat('y', 99) . "\n", 1000);
            for ($left = $event->bytes ?? 100 << 20; $left > 0; $left -= 100000) {
                fwrite(STDOUT, $line);
            }
            return 'logged';
        case 'say':
            $text = $event->value ?? 'hello';
            echo "print $text\n";
            fwrite(STDERR, "stderr $text\n");
            error_log("error $text");
            echo $undefined;
            return 'said';
        case 'unserialisable':
            return "\xff";
        case 'run':
            return shell_exec(implode(' ', array_map('escapeshellarg', $event->command)));
    }
    throw new Custom("no verb {$event->do}");
}

class Handlers
{
    private int $calls = 0;

    public static function shared(array $event): string
    {
        return 'static';
    }

    public function own(string $event): array
    {
        return [$event, ++$this->calls];
    }
}
