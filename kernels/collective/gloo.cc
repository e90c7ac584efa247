/* SPDX-License-Identifier: Apache-2.0
 *
 * The implementation "gloo": Gloo's ring all-reduce and tree broadcast over TCP, and a tree of our
 * own for small all-reduces.
 *
 * A rank has pairs with its neighbours only (rendezvous.h): log2(world) of them, not world, so that
 * 336 ranks on one machine are a few thousand connections.
 *
 * Gloo can neither be interrupted nor limit a whole operation: closing a pair wakes nobody who
 * waits for a buffer. But all buffers come from a transport context, which is an interface: Mesh
 * stands in front of Gloo's TCP context, and its buffers' waits end at the operation's deadline, on
 * abort, and when a rank has disconnected (which Gloo does not always see: peer_monitor.h). No
 * exception leaves this file; one on Gloo's own thread ends the process with a line that explains
 * it.
 */
extern "C" {
#include "kernels/collective/bf16_add.h"
#include "kernels/collective/implementation.h"
#include "kernels/collective/peer_monitor.h"
}

#include <gloo/allreduce.h>
#include <gloo/broadcast.h>
#include <gloo/common/error.h>
#include <gloo/context.h>
#include <gloo/transport/tcp/device.h>

#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <set>
#include <thread>

namespace
{

/* All-reduces whose part for one rank in a ring is smaller than this go through a tree instead:
 * a ring takes 2 (world - 1) steps one after the other, a tree 2 log2(world). */
constexpr size_t tree_bytes_per_rank = 8192;
constexpr uint64_t tree_slot = 0xffULL << 56; /* of messages; Gloo's algorithms have others */
constexpr int rendezvous_wait_ms = 20;        /* within the 100 ms that an abort may take */

using Clock = std::chrono::steady_clock;
using gloo::transport::UnboundBuffer;
using std::chrono::milliseconds;

/* Why an operation ended, with our code. */
struct Failure {
    int code;
    std::string text;
};

class Mesh : public gloo::transport::Context
{
  public:
    Mesh(const wsl_collective_setup &s, std::shared_ptr<gloo::transport::Context> tcp)
        : gloo::transport::Context(s.rank, s.world), setup(s), tcp_(std::move(tcp))
    {
        int ranks[WSL_RENDEZVOUS_NEIGHBOURS_MAX];

        neighbours.assign(ranks, ranks + wsl_rendezvous_neighbours(s.rank, s.world, ranks));
        for (int peer : neighbours) /* each listens on a port of its own from here on */
            createPair(peer);
    }
    std::unique_ptr<gloo::transport::Pair> &getPair(int peer) override
    {
        auto &pair = tcp_->getPair(peer);
        if (!pair)
            throw Failure{WSL_EINTERNAL,
                          "collective: no connection to rank " + std::to_string(peer)};
        return pair;
    }
    std::unique_ptr<gloo::transport::Pair> &createPair(int peer) override
    {
        return tcp_->createPair(peer);
    }
    std::unique_ptr<UnboundBuffer> createUnboundBuffer(void *data, size_t bytes) override;
    /* Any thread: ends every wait with the first reason that was given. */
    void lose(const wsl_err &why)
    {
        {
            std::lock_guard<std::mutex> hold(lock);
            if (lost)
                return;
            why_lost = why;
            lost = true;
        }
        wake();
    }

    /* Runs f, which communicates with `peer`; its failure becomes one of ours. */
    template <typename F>
    void with_peer(int peer, F f)
    {
        try {
            check();
            f();
            check();
        } catch (const std::exception &e) {
            check();
            fail(peer, wsl_collective_strip_prefix(e.what()));
        }
    }
    [[noreturn]] void fail(int peer, const std::string &detail) const
    {
        wsl_err why = {};
        if (Clock::now() >= deadline)
            throw Failure{WSL_ETIMEOUT, "collective: rank " + std::to_string(peer) +
                                            " did not do its part in time: " + detail};
        /* `peer` may just have disconnected because of another one that did. */
        if (monitor && wsl_peer_monitor_ask(monitor.get(), &why))
            throw Failure{why.code, why.text};
        throw Failure{WSL_EPEER,
                      "collective: rank " + std::to_string(peer) + " disconnected: " + detail};
    }
    void check() const
    {
        if (aborted)
            throw Failure{WSL_ECANCELLED, "collective: aborted"};
        if (lost)
            throw Failure{why_lost.code, why_lost.text};
    }
    milliseconds left() const /* rounded up, or a wait ends before it is late; 0: without a limit */
    {
        auto rest = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        return std::max(rest, milliseconds(1));
    }
    void wake(); /* every wait, after `aborted` or `lost` is set */

    const wsl_collective_setup &setup;
    Clock::time_point deadline; /* of the running operation */
    std::atomic<bool> aborted{false}, lost{false};
    wsl_err why_lost{};              /* before `lost` */
    std::atomic<int> connecting{-1}; /* the newest peer */
    std::mutex lock;                 /* of `live`, and of becoming lost */
    std::set<UnboundBuffer *> live;
    std::vector<int> neighbours;

  private:
    const std::shared_ptr<gloo::transport::Context> tcp_;

  public: /* from here on, what ends first */
    std::unique_ptr<wsl_rendezvous, decltype(&wsl_rendezvous_close)> peers{nullptr,
                                                                           wsl_rendezvous_close};
    std::unique_ptr<wsl_peer_monitor, decltype(&wsl_peer_monitor_stop)> monitor{
        nullptr, wsl_peer_monitor_stop};
};

class Buffer : public UnboundBuffer
{
  public:
    Buffer(Mesh &mesh, std::unique_ptr<UnboundBuffer> inner)
        : UnboundBuffer(inner->ptr, inner->size), mesh_(mesh), inner_(std::move(inner))
    {
        std::lock_guard<std::mutex> hold(mesh_.lock);
        mesh_.live.insert(this);
    }
    ~Buffer() override
    {
        std::lock_guard<std::mutex> hold(mesh_.lock);
        mesh_.live.erase(this);
    }
    bool waitRecv(int *rank, milliseconds) override
    {
        mesh_.with_peer(from_, [&] { inner_->waitRecv(rank, mesh_.left()); });
        return true;
    }
    bool waitSend(int *rank, milliseconds) override
    {
        mesh_.with_peer(to_, [&] { inner_->waitSend(rank, mesh_.left()); });
        return true;
    }
    void abortWaitRecv() override
    {
        inner_->abortWaitRecv();
    }
    void abortWaitSend() override
    {
        inner_->abortWaitSend();
    }
    void send(int peer, uint64_t slot, size_t offset, size_t bytes) override
    {
        to_ = peer;
        mesh_.with_peer(peer, [&] { inner_->send(peer, slot, offset, bytes); });
    }
    void recv(int peer, uint64_t slot, size_t offset, size_t bytes) override
    {
        from_ = peer;
        mesh_.with_peer(peer, [&] { inner_->recv(peer, slot, offset, bytes); });
    }
    void recv(std::vector<int>, uint64_t, size_t, size_t) override
    {
        throw Failure{WSL_EUNSUPPORTED, "collective: receive from any rank"};
    }

  private:
    Mesh &mesh_;
    std::unique_ptr<UnboundBuffer> inner_;
    int from_ = -1, to_ = -1;
};

std::unique_ptr<UnboundBuffer> Mesh::createUnboundBuffer(void *data, size_t bytes)
{
    return std::make_unique<Buffer>(*this, tcp_->createUnboundBuffer(data, bytes));
}

void Mesh::wake()
{
    if (connecting >= 0)
        getPair(connecting)->close();
    std::lock_guard<std::mutex> hold(lock);
    for (UnboundBuffer *b : live) {
        b->abortWaitRecv();
        b->abortWaitSend();
    }
}

/* Gloo's context with our transport in it. */
struct Group : gloo::Context {
    Group(std::shared_ptr<Mesh> m, std::shared_ptr<gloo::transport::Device> device)
        : gloo::Context(m->rank, m->size), mesh(std::move(m))
    {
        device_ = std::move(device);
        transportContext_ = mesh;
    }
    const std::shared_ptr<Mesh> mesh;
};
using Instance = std::shared_ptr<Group>;

/* Calls f and turns what it throws into an error. */
int guard(Mesh *mesh, wsl_err *err, const std::function<void()> &f)
{
    try {
        if (mesh)
            mesh->deadline = Clock::now() + milliseconds(mesh->setup.timeout_ms);
        f();
        return 0;
    } catch (const Failure &e) {
        return wsl_fail(err, e.code, "%s", e.text.c_str());
    } catch (const std::bad_alloc &) {
        return wsl_fail(err, WSL_ENOMEM, "collective: out of memory");
    } catch (const std::exception &e) {
        return wsl_fail(err, WSL_EPEER, "collective: %s", wsl_collective_strip_prefix(e.what()));
    } catch (...) {
        return wsl_fail(err, WSL_EINTERNAL, "collective: Gloo threw something without a text");
    }
}

/* Gloo's own thread throws when bytes do not fit what this rank waits for, and nothing of ours is
 * on its stack to catch it. */
[[noreturn]] void on_terminate()
{
    std::string text = "an unknown exception";

    try {
        if (std::current_exception())
            std::rethrow_exception(std::current_exception());
    } catch (const std::exception &e) {
        text = wsl_collective_strip_prefix(e.what());
    } catch (...) {
    }
    fprintf(stderr,
            "collective: Gloo gave up on its own thread: another rank, or something that is no "
            "rank, sent bytes that do not fit: %s\n",
            text.substr(0, text.find('\n')).c_str());
    abort();
}

std::shared_ptr<Group> make(const wsl_collective_setup &setup)
{
    std::set_terminate(on_terminate);
    auto device = gloo::transport::tcp::CreateDevice(setup.address);
    auto tcp = device->createContext(setup.rank, setup.world);
    /* A pair waits five times its time limit for the other end to connect. */
    tcp->setTimeout(milliseconds(std::max(setup.timeout_ms / 5, 1U)));
    return std::make_shared<Group>(std::make_shared<Mesh>(setup, tcp), device);
}

/* Throws when a call failed. */
void require(int result, const wsl_err &err)
{
    if (result < 0)
        throw Failure{err.code, err.text};
}

void on_lost(void *context, const wsl_err *why)
{
    Mesh *mesh = static_cast<Mesh *>(context);

    guard(nullptr, nullptr, [&] { mesh->lose(*why); });
}

/* All ranks connect to rank 0: ours and theirs are what neighbours have for each other. From
 * here on a rank that disconnects ends what waits for it. */
void meet_ranks(Mesh &mesh, const std::vector<char> &ours, std::vector<char> &theirs)
{
    const wsl_collective_setup &s = mesh.setup;
    const wsl_rendezvous_setup setup = {s.rank, s.world, s.address,
                                        ours.size() / mesh.neighbours.size(), ours.data()};
    wsl_rendezvous_address zero = {};
    wsl_rendezvous *peers = nullptr;
    wsl_peer_monitor *monitor = nullptr;
    wsl_err err = {};
    int r;

    require(wsl_rendezvous_open(&peers, &setup, &zero, &err), err);
    mesh.peers.reset(peers);
    require(s.exchange.broadcast(s.exchange.context, &zero, sizeof(zero), &err), err);
    while ((r = wsl_rendezvous_connect(peers, &zero, theirs.data(), &err)) > 0) {
        mesh.check();
        wsl_rendezvous_wait(peers, rendezvous_wait_ms);
    }
    require(r, err);
    require(wsl_peer_monitor_start(&monitor, mesh.peers.release(), on_lost, &mesh, &err), err);
    mesh.monitor.reset(monitor);
}

/* Neighbours tell each other where their pairs listen. */
void connect_pairs(Mesh &mesh)
{
    std::vector<char> ours, theirs;

    for (int peer : mesh.neighbours) {
        auto bytes = mesh.getPair(peer)->address().bytes();
        ours.insert(ours.end(), bytes.begin(), bytes.end());
    }
    theirs.resize(ours.size());
    meet_ranks(mesh, ours, theirs);
    const auto each = (ptrdiff_t)(theirs.size() / mesh.neighbours.size());
    auto at = theirs.begin();
    for (int peer :
         mesh.neighbours) { /* ascending on all ranks, so that nobody waits in a circle */
        mesh.connecting = peer;
        mesh.with_peer(peer,
                       [&] { mesh.getPair(peer)->connect(std::vector<char>(at, at + each)); });
        at += each;
    }
}

template <typename T>
void add(void *to, const void *a, const void *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        static_cast<T *>(to)[i] = static_cast<const T *>(a)[i] + static_cast<const T *>(b)[i];
}

template <>
void add<uint16_t>(void *to, const void *a, const void *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        static_cast<uint16_t *>(to)[i] =
            wsl_bf16_add(static_cast<const uint16_t *>(a)[i], static_cast<const uint16_t *>(b)[i]);
}

/* Messages of different sizes have different tags: ranks that do different operations wait for each
 * other until the time limit says so, and Gloo's thread meets nothing that does not fit. */
uint32_t tag_of(size_t bytes)
{
    return (uint32_t)(bytes ^ bytes >> 24) & 0xffffff;
}

void broadcast(std::shared_ptr<Group> group, void *data, size_t bytes, int root)
{
    gloo::BroadcastOptions options(group);

    options.setOutput(static_cast<char *>(data), bytes);
    options.setRoot(root);
    options.setTag(tag_of(bytes));
    gloo::broadcast(options);
}

/* Up a binomial tree to rank 0, whose total then goes to all. */
template <typename T>
void all_reduce_tree(std::shared_ptr<Group> group, void *data, size_t count)
{
    const int rank = group->rank, world = group->size;
    const size_t bytes = count * sizeof(T);
    const uint64_t slot = tree_slot | tag_of(bytes);
    std::vector<T> other(count);
    auto ours = group->mesh->createUnboundBuffer(data, bytes);
    auto theirs = group->mesh->createUnboundBuffer(other.data(), bytes);

    for (int distance = 1; distance < world; distance *= 2) {
        if (rank & distance) {
            ours->send(rank - distance, slot, 0, bytes);
            ours->waitSend(gloo::kNoTimeout);
            break;
        }
        if (rank + distance < world) {
            theirs->recv(rank + distance, slot, 0, bytes);
            theirs->waitRecv(gloo::kNoTimeout);
            add<T>(data, data, other.data(), count);
        }
    }
    broadcast(group, data, bytes, 0);
}

template <typename T>
void all_reduce(std::shared_ptr<Group> group, void *data, size_t count)
{
    if (count * sizeof(T) < tree_bytes_per_rank * (size_t)group->size) {
        all_reduce_tree<T>(group, data, count);
        return;
    }
    gloo::AllreduceOptions options(group);

    options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
    options.setOutput(static_cast<T *>(data), count);
    options.setReduceFunction(&add<T>);
    options.setTag(tag_of(count * sizeof(T)));
    gloo::allreduce(options);
}

int group_create(void **ret, const wsl_collective_setup *setup, wsl_err *err)
{
    return guard(nullptr, err, [&] { *ret = new Instance(make(*setup)); });
}

int group_rendezvous(void *self, wsl_err *err)
{
    Mesh *mesh = (*static_cast<Instance *>(self))->mesh.get();
    return guard(mesh, err, [&] { connect_pairs(*mesh); });
}

int group_all_reduce(void *self, void *data, size_t count, wsl_reduce_dtype dtype, wsl_err *err)
{
    auto group = *static_cast<Instance *>(self);
    return guard(group->mesh.get(), err, [&] {
        dtype == WSL_REDUCE_F32   ? all_reduce<float>(group, data, count)
        : dtype == WSL_REDUCE_F64 ? all_reduce<double>(group, data, count)
                                  : all_reduce<uint16_t>(group, data, count);
    });
}

int group_broadcast(void *self, void *data, size_t bytes, int root, wsl_err *err)
{
    auto group = *static_cast<Instance *>(self);
    return guard(group->mesh.get(), err, [&] { broadcast(group, data, bytes, root); });
}

void group_abort(void *self)
{
    Mesh *mesh = (*static_cast<Instance *>(self))->mesh.get();

    mesh->aborted = true;
    guard(nullptr, nullptr, [&] { mesh->wake(); });
}

/* Resets the connections. Each takes up to 10 ms, one turn of the device's loop. */
void group_disconnect(void *self)
{
    Mesh *mesh = (*static_cast<Instance *>(self))->mesh.get();
    mesh->monitor.reset(); /* first: tells them which rank it is that disconnected */
    mesh->peers.reset();
    guard(nullptr, nullptr, [&] {
        for (int peer : mesh->neighbours)
            mesh->getPair(peer)->close();
    });
}

void group_destroy(void *self)
{
    delete static_cast<Instance *>(self);
}

} // namespace

extern "C" const wsl_collective_implementation wsl_collective_gloo = {
    "gloo",       nullptr,          nullptr,          nullptr, nullptr,
    group_create, group_rendezvous, group_all_reduce, nullptr, group_broadcast,
    group_abort,  group_disconnect, group_destroy,
};
