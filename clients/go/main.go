// Command client walks through the token registry, in the order in which a login service would call it.
//
// Usage: go run . [ADDRESS]      (default 127.0.0.1:50051)
package main

//go:generate go run ./internal/protogen

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pb "example.com/token-registry/client/gen/tokenregistry/v1"
)

const (
	deadline = 5 * time.Second // every call has one
	domain   = "tokenregistry.v1"
	laptop   = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"
	phone    = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) " +
		"Version/17.5 Mobile/15E148 Safari/604.1"
)

func main() {
	address := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if err := run(context.Background(), address); err != nil {
		fmt.Fprintln(os.Stderr, "go:", err)
		os.Exit(1)
	}
	fmt.Println("go: ok")
}

func run(ctx context.Context, address string) error {
	conn, err := grpc.NewClient(address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithUnaryInterceptor(withDeadline),
	)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := walk(ctx, pb.NewUserServiceClient(conn), pb.NewWhitelistServiceClient(conn), pb.NewGenericTokenServiceClient(conn)); err != nil {
		return err
	}
	return tryItAll(ctx, address)
}

// withDeadline gives every call its own deadline.
func withDeadline(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	return invoke(ctx, method, request, reply, conn, options...)
}

func walk(ctx context.Context, users pb.UserServiceClient, sessions pb.WhitelistServiceClient, oneTime pb.GenericTokenServiceClient) error {
	userID := "go-" + rand.Text()
	session := rand.Text() // the caller's name of this login, in every refresh JWT
	firstJTI, secondJTI, thiefsJTI := rand.Text(), rand.Text(), rand.Text()

	// 1. Read the credential version before the password is judged.
	if _, err := users.CreateUser(ctx, &pb.CreateUserRequest{UserId: userID}); err != nil {
		return fmt.Errorf("CreateUser: %w", err)
	}
	read, err := users.GetUser(ctx, &pb.GetUserRequest{UserId: userID})
	if err != nil {
		return fmt.Errorf("GetUser: %w", err)
	}
	version := read.GetUser().GetCredentialVersion()
	if !read.GetUser().GetActive() || version == "" {
		return fmt.Errorf("GetUser: want an active user with a credential_version, got %v", read.GetUser())
	}
	fmt.Printf("user %s, credential_version %s\n", userID, version)

	// 2. The password was right: open a session. No grace, so that a stolen token is noticed at once.
	added, err := sessions.AddRefreshToken(ctx, &pb.AddRefreshTokenRequest{
		UserId:            userID,
		Session:           session,
		Jti:               firstJTI,
		CredentialVersion: &version,
		Client:            &pb.ClientInfo{UserAgent: new(laptop), Ip: new("::ffff:203.0.113.7")},
		RotationGrace:     durationpb.New(0),
	})
	if err != nil {
		return fmt.Errorf("AddRefreshToken: %w", err)
	}
	client := added.GetToken().GetBase().GetClient()
	if err := cmp.Or(
		expect("jti", added.GetToken().GetJti(), firstJTI),
		expect("ip in canonical form", client.GetIp(), "203.0.113.7"),
		expect("user_agent, which is never kept", client.UserAgent != nil, false),
	); err != nil {
		return err
	}
	fmt.Println("session opened: jti", firstJTI)

	// 3. The refresh token was presented: swap its jti, and sign the jti of the answer.
	rotation := &pb.RotateRefreshTokenRequest{UserId: userID, Session: session, Jti: firstJTI, NewJti: &secondJTI}
	rotated, err := sessions.RotateRefreshToken(ctx, rotation)
	if err != nil {
		return fmt.Errorf("RotateRefreshToken: %w", err)
	}
	signedJTI := rotated.GetToken().GetJti()
	if err := cmp.Or(
		expect("outcome", rotated.GetOutcome(), pb.RotationOutcome_ROTATION_OUTCOME_ROTATED),
		expect("jti", signedJTI, secondJTI),
	); err != nil {
		return err
	}
	fmt.Println("ROTATED: sign jti", signedJTI)

	// 4. The answer got lost? Send the same request again.
	retried, err := sessions.RotateRefreshToken(ctx, rotation)
	if err != nil {
		return fmt.Errorf("RotateRefreshToken, again: %w", err)
	}
	if err := cmp.Or(
		expect("outcome", retried.GetOutcome(), pb.RotationOutcome_ROTATION_OUTCOME_RETRIED),
		expect("jti", retried.GetToken().GetJti(), signedJTI),
	); err != nil {
		return err
	}
	fmt.Println("RETRIED: sign jti", retried.GetToken().GetJti())

	// 5. What a resource server asks on every request.
	question := &pb.CheckSessionRequest{UserId: userID, Session: session}
	checked, err := sessions.CheckSession(ctx, question)
	if err != nil {
		return fmt.Errorf("CheckSession: %w", err)
	}
	if err := expect("state", checked.GetState(), pb.TokenState_TOKEN_STATE_ACTIVE); err != nil {
		return err
	}
	fmt.Println("session ACTIVE")

	// 6. A thief presents the token that was rotated away.
	_, err = sessions.RotateRefreshToken(ctx, &pb.RotateRefreshTokenRequest{
		UserId: userID, Session: session, Jti: firstJTI, NewJti: &thiefsJTI,
	})
	if err := expectRefusal(err, codes.FailedPrecondition, "TOKEN_REPLAYED"); err != nil {
		return err
	}
	fmt.Println("replay refused: TOKEN_REPLAYED")

	// 7. That ended the session, also for its owner: the two can't be told apart.
	checked, err = sessions.CheckSession(ctx, question)
	if err != nil {
		return fmt.Errorf("CheckSession: %w", err)
	}
	if err := expect("state", checked.GetState(), pb.TokenState_TOKEN_STATE_REVOKED); err != nil {
		return err
	}
	fmt.Println("session REVOKED")

	// 8. The owner is told why.
	_, err = sessions.RotateRefreshToken(ctx, &pb.RotateRefreshTokenRequest{UserId: userID, Session: session, Jti: signedJTI})
	reason := detail[*errdetails.ErrorInfo](err).GetMetadata()["revocation_reason"]
	if err := cmp.Or(
		expectRefusal(err, codes.FailedPrecondition, "SESSION_REVOKED"),
		expect("revocation_reason", reason, "REPLAY"),
	); err != nil {
		return err
	}
	fmt.Println("rotation refused: SESSION_REVOKED because of", reason)

	// 9. A password reset link works once.
	link, err := oneTime.IssueGenericToken(ctx, &pb.IssueGenericTokenRequest{UserId: userID, Purpose: "password_reset"})
	if err != nil {
		return fmt.Errorf("IssueGenericToken: %w", err)
	}
	claim := &pb.ConsumeGenericTokenRequest{Purpose: "password_reset", Value: link.GetValue()}
	consumed, err := oneTime.ConsumeGenericToken(ctx, claim)
	if err != nil {
		return fmt.Errorf("ConsumeGenericToken: %w", err)
	}
	_, err = oneTime.ConsumeGenericToken(ctx, claim)
	if err := cmp.Or(
		expect("user_id of the one-time token", consumed.GetToken().GetUserId(), userID),
		expect("state", consumed.GetToken().GetState(), pb.TokenState_TOKEN_STATE_CONSUMED),
		expectRefusal(err, codes.FailedPrecondition, "TOKEN_CONSUMED"),
	); err != nil {
		return err
	}
	fmt.Println("password_reset consumed once, then TOKEN_CONSUMED")

	// 10. A request that can't be right: all its bad fields are named at once.
	_, err = sessions.AddRefreshToken(ctx, &pb.AddRefreshTokenRequest{UserId: "", Session: "", Jti: firstJTI})
	violations := detail[*errdetails.BadRequest](err).GetFieldViolations()
	var fields []string
	for _, violation := range violations {
		fields = append(fields, violation.GetField())
	}
	slices.Sort(fields)
	if err := cmp.Or(
		expectRefusal(err, codes.InvalidArgument, "INVALID_REQUEST"),
		expect("bad fields", strings.Join(fields, " "), "session user_id"),
	); err != nil {
		return err
	}
	for _, violation := range violations {
		fmt.Printf("bad field %s: %s\n", violation.GetField(), violation.GetDescription())
	}

	// 11. "Where you are logged in", after one more login on a phone.
	if _, err := sessions.AddRefreshToken(ctx, &pb.AddRefreshTokenRequest{
		UserId:            userID,
		Session:           rand.Text(),
		Jti:               rand.Text(),
		CredentialVersion: &version,
		Client:            &pb.ClientInfo{UserAgent: new(phone), Ip: new("2001:db8::7")},
	}); err != nil {
		return fmt.Errorf("AddRefreshToken: %w", err)
	}
	page, err := sessions.ListRefreshTokens(ctx, &pb.ListRefreshTokensRequest{UserId: userID})
	if err != nil {
		return fmt.Errorf("ListRefreshTokens: %w", err)
	}
	var states []string
	for _, token := range page.GetTokens() {
		states = append(states, stateName(token.GetState()))
		fmt.Println("device:", deviceLine(token))
	}
	if err := expect("states, newest first", strings.Join(states, " "), "ACTIVE REVOKED"); err != nil {
		return err
	}

	// 12. The password was changed: everything that the old one opened ends, and so do logins in progress.
	change, err := users.RevokeCredentials(ctx, &pb.RevokeCredentialsRequest{UserId: userID, KeepAuthTokens: new(true)})
	if err != nil {
		return fmt.Errorf("RevokeCredentials: %w", err)
	}
	_, err = sessions.AddRefreshToken(ctx, &pb.AddRefreshTokenRequest{
		UserId: userID, Session: rand.Text(), Jti: rand.Text(), CredentialVersion: &version,
	})
	if err := cmp.Or(
		expect("sessions revoked", change.GetRevoked().GetSessions(), 1),
		expect("credential_version changed", change.GetUser().GetCredentialVersion() != version, true),
		expectRefusal(err, codes.FailedPrecondition, "CREDENTIALS_CHANGED"),
	); err != nil {
		return err
	}
	fmt.Println("login with the old password refused: CREDENTIALS_CHANGED")

	if _, err := users.DeleteUser(ctx, &pb.DeleteUserRequest{UserId: userID}); err != nil {
		return fmt.Errorf("DeleteUser: %w", err)
	}
	return nil
}

func expect[T comparable](what string, got, want T) error {
	if got != want {
		return fmt.Errorf("%s: got %v, want %v", what, got, want)
	}
	return nil
}

// expectRefusal judges a refused call by its code and reason. The text of the status is for people only.
func expectRefusal(err error, code codes.Code, reason string) error {
	if err == nil {
		return fmt.Errorf("want %s, but the call was answered OK", reason)
	}
	info := detail[*errdetails.ErrorInfo](err)
	if status.Code(err) != code || info.GetReason() != reason || info.GetDomain() != domain {
		return fmt.Errorf("want %v %s, got %w, ErrorInfo %v", code, reason, err, info)
	}
	return nil
}

// detail returns the first detail of type T that the status of err carries, or nil.
func detail[T any](err error) T {
	for _, each := range status.Convert(err).Details() {
		if found, ok := each.(T); ok {
			return found
		}
	}
	var none T
	return none
}

func deviceLine(token *pb.RefreshToken) string {
	client := token.GetBase().GetClient()
	browser := strings.TrimSpace(client.GetBrowser() + " " + client.GetBrowserVersion())
	return fmt.Sprintf("%s on %s from %s, since %s, %s",
		cmp.Or(browser, "unknown browser"),
		cmp.Or(client.GetOs(), "unknown system"),
		client.GetIp(),
		token.GetSessionCreated().AsTime().Format(time.DateTime),
		stateName(token.GetState()),
	)
}

func stateName(state pb.TokenState) string {
	return strings.TrimPrefix(state.String(), "TOKEN_STATE_")
}
