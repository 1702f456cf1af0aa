// Command grpc is a gRPC server as it is usually written: the health service, whose
// calls are unary and streams, and reflection, which is a stream both ways.
package main

import (
	"context"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		log.Fatal(err) //nolint:gocritic // nothing has begun
	}
	s := grpc.NewServer()
	checks := health.NewServer()
	checks.SetServingStatus("here", healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(s, checks)
	reflection.Register(s)
	go func() {
		<-ctx.Done()
		log.Print("asked to end")
		checks.Shutdown() // streams are told
		s.GracefulStop()
	}()
	if err := s.Serve(l); err != nil {
		log.Fatal(err)
	}
}
