package main

// Recipes for a login service: connect, log in, refresh, log out, and check the session of every request.
// main.go runs tryItAll, so that docs/cookbook-go.md, which shows the recipes, shows what works.

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	pb "example.com/token-registry/client/gen/tokenregistry/v1"
)

// connect makes the one connection of a process. The service config has the deadlines and what is retried.
func connect(address, serviceConfig string) (*grpc.ClientConn, error) {
	return grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	)
}

// errTryLater says that the registry can't answer now.
var errTryLater = errors.New("the registry can't answer now")

// loginRequired says that the person has to log in again, and why.
type loginRequired string

func (why loginRequired) Error() string { return "log in again: " + string(why) }

// judged is what a refused call means to a login service. Decide by code and reason; the status's text is for people.
func judged(err error) error {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return errTryLater
	case codes.NotFound, codes.FailedPrecondition:
		if info := detail[*errdetails.ErrorInfo](err); info.GetDomain() == domain {
			return loginRequired(info.GetReason())
		}
	}
	return err // nil, or not the person's fault: a bug, or this service may not call that
}

// login is what goes into a refresh token as the claims sub, sid and jti.
type login struct{ userID, session, jti string }

type sessions struct {
	users     pb.UserServiceClient
	whitelist pb.WhitelistServiceClient
}

func (s sessions) logIn(ctx context.Context, userID string, passwordIsRight func() bool, client *pb.ClientInfo) (login, error) {
	// Read before the password is judged: if it is changed meanwhile, this login fails.
	created, err := s.users.CreateUser(ctx, &pb.CreateUserRequest{UserId: userID})
	if err != nil {
		return login{}, judged(err)
	}
	if !passwordIsRight() {
		return login{}, loginRequired("wrong password")
	}
	opened := login{userID, rand.Text(), rand.Text()}
	_, err = s.whitelist.AddRefreshToken(ctx, &pb.AddRefreshTokenRequest{
		UserId:            userID,
		Session:           opened.session,
		Jti:               opened.jti,
		CredentialVersion: new(created.GetUser().GetCredentialVersion()),
		Client:            client,
	})
	return opened, judged(err)
}

// refresh takes the claims of a refresh token whose signature and expiry are right, and answers those of its successor.
func (s sessions) refresh(ctx context.Context, presented login) (login, error) {
	answer, err := s.whitelist.RotateRefreshToken(ctx, &pb.RotateRefreshTokenRequest{
		UserId:  presented.userID,
		Session: presented.session,
		Jti:     presented.jti,
		NewJti:  new(rand.Text()), // makes the retry of a lost answer safe
	})
	// Sign the jti of the answer, never NewJti: of two refreshes at once both get the same.
	return login{presented.userID, presented.session, answer.GetToken().GetJti()}, judged(err)
}

func (s sessions) logOut(ctx context.Context, userID, session string) error {
	_, err := s.whitelist.RevokeSession(ctx, &pb.RevokeSessionRequest{
		UserId: userID, Session: session, Reason: pb.RevocationReason_REVOCATION_REASON_LOGOUT,
	})
	return judged(err)
}

func (s sessions) isLive(ctx context.Context, userID, session string) (bool, error) {
	answer, err := s.whitelist.CheckSession(ctx, &pb.CheckSessionRequest{UserId: userID, Session: session})
	// Nothing else permits anything; without an answer the state is unspecified.
	return answer.GetState() == pb.TokenState_TOKEN_STATE_ACTIVE, judged(err)
}

// requireSession is middleware. claimsOf verifies the access token of a request and answers its claims sub and sid.
func requireSession(s sessions, claimsOf func(*http.Request) (userID, session string, ok bool), next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		userID, session, ok := claimsOf(r)
		if ok {
			var err error
			if ok, err = s.isLive(r.Context(), userID, session); err != nil {
				w.Header().Set("Retry-After", "1") // fail closed
				http.Error(w, "try again", http.StatusServiceUnavailable)
				return
			}
		}
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "log in", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func tryItAll(ctx context.Context, address string) error {
	// A service of your own would embed its copy of the file.
	config, err := os.ReadFile(cmp.Or(os.Getenv("SERVICE_CONFIG"), "../service_config.json"))
	if err != nil {
		return err
	}
	conn, err := connect(address, string(config))
	if err != nil {
		return err
	}
	defer conn.Close()
	s := sessions{pb.NewUserServiceClient(conn), pb.NewWhitelistServiceClient(conn)}
	userID := "go-" + rand.Text()
	client := &pb.ClientInfo{UserAgent: new("curl/8.5.0"), Ip: new("192.0.2.7")}
	if _, err := s.logIn(ctx, userID, func() bool { return false }, client); !errors.As(err, new(loginRequired)) {
		return fmt.Errorf("with a wrong password: %v", err)
	}
	first, err := s.logIn(ctx, userID, func() bool { return true }, client)
	if err != nil {
		return err
	}
	statusOf := func(s sessions) int {
		answer := httptest.NewRecorder()
		claims := func(*http.Request) (string, string, bool) { return userID, first.session, true }
		requireSession(s, claims, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).
			ServeHTTP(answer, httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil))
		return answer.Code
	}
	live := statusOf(s)
	second, err := s.refresh(ctx, first)
	if err != nil {
		return err
	}
	again, err := s.refresh(ctx, first)
	if err != nil {
		return err
	}
	// A registry that never answers: the deadline is that of the service config.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer silent.Close()
	to, err := connect(silent.Addr().String(), string(config))
	if err != nil {
		return err
	}
	defer to.Close()
	nobody := sessions{pb.NewUserServiceClient(to), pb.NewWhitelistServiceClient(to)}
	if err := cmp.Or(
		expect("a live session", live, http.StatusOK),
		expect("another jti", second != first, true),
		// Two tabs refresh at once: both are to sign the same jti.
		expect("the same jti", again, second),
		expect("a silent registry", statusOf(nobody), http.StatusServiceUnavailable),
		s.logOut(ctx, userID, first.session),
		expect("after logout", statusOf(s), http.StatusUnauthorized),
	); err != nil {
		return err
	}
	_, err = s.refresh(ctx, second)
	if err := expect("refresh after logout", err, error(loginRequired("SESSION_REVOKED"))); err != nil {
		return err
	}
	if _, err := s.users.DeleteUser(ctx, &pb.DeleteUserRequest{UserId: userID}); err != nil {
		return err
	}
	fmt.Println("cookbook: login, refresh, logout, check")
	return nil
}
