/* SPDX-License-Identifier: Apache-2.0
 *
 * The implementation "gloo": Gloo's ring allreduce and tree broadcast over TCP.
 *
 * Gloo can neither be interrupted nor limit a whole operation: closing a pair wakes nobody who
 * waits for a buffer. But all buffers come from a transport context, which is an interface: Mesh
 * stands in front of Gloo's TCP context, and its buffers' waits end at the operation's deadline,
 * on abort, and when a rank is gone (which Gloo does not always see: watch.h). No exception leaves
 * this file.
 */
extern "C" {
#include "kernels/collective/implementation.h"
#include "kernels/collective/watch.h"
#include "kernels/collective/wire.h"
}

#include <gloo/allreduce.h>
#include <gloo/broadcast.h>
#include <gloo/common/error.h>
#include <gloo/context.h>
#include <gloo/transport/tcp/device.h>

#include <atomic>
#include <cstring>
#include <set>
#include <thread>

namespace
{

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
    }
    std::unique_ptr<gloo::transport::Pair> &getPair(int peer) override
    {
        return tcp_->getPair(peer);
    }
    std::unique_ptr<gloo::transport::Pair> &createPair(int peer) override
    {
        return tcp_->createPair(peer);
    }
    std::unique_ptr<UnboundBuffer> createUnboundBuffer(void *data, size_t bytes) override;

    /* Runs f, which talks to `peer`; its failure gets our code and our words. */
    template <typename F>
    void talk(int peer, F f)
    {
        try {
            check();
            f();
            check();
        } catch (const gloo::Exception &e) {
            check();
            fail(peer, wsl_collective_words(e.what()));
        }
    }
    [[noreturn]] void fail(int peer, const std::string &words) const
    {
        wsl_err why = {};
        if (Clock::now() >= deadline)
            throw Failure{WSL_ETIMEOUT, "collective: rank " + std::to_string(peer) +
                                            " did not do its part in time: " + words};
        /* `peer` may just have left because of another one that is gone. */
        if (watch && wsl_watch_ask(watch.get(), &why))
            throw Failure{why.code, why.text};
        throw Failure{WSL_EPEER, "collective: rank " + std::to_string(peer) + " is gone: " + words};
    }
    void check() const
    {
        if (aborted)
            throw Failure{WSL_ECANCELLED, "collective: aborted"};
        if (lost)
            throw Failure{why_lost.code, why_lost.text};
    }
    milliseconds left() const /* rounded up, or a wait ends before it is late; 0: for ever */
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
    std::mutex lock;                 /* of `live` */
    std::set<UnboundBuffer *> live;

  private:
    const std::shared_ptr<gloo::transport::Context> tcp_;

  public: /* from here on, what ends first */
    std::unique_ptr<wsl_peers, decltype(&wsl_peers_close)> peers{nullptr, wsl_peers_close};
    std::unique_ptr<wsl_watch, decltype(&wsl_watch_stop)> watch{nullptr, wsl_watch_stop};
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
        mesh_.talk(from_, [&] { inner_->waitRecv(rank, mesh_.left()); });
        return true;
    }
    bool waitSend(int *rank, milliseconds) override
    {
        mesh_.talk(to_, [&] { inner_->waitSend(rank, mesh_.left()); });
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
        mesh_.talk(peer, [&] { inner_->send(peer, slot, offset, bytes); });
    }
    void recv(int peer, uint64_t slot, size_t offset, size_t bytes) override
    {
        from_ = peer;
        mesh_.talk(peer, [&] { inner_->recv(peer, slot, offset, bytes); });
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
        return wsl_fail(err, WSL_EPEER, "collective: %s", wsl_collective_words(e.what()));
    }
}

/* Every pair listens on a port of its own from here on. */
std::shared_ptr<Group> make(const wsl_collective_setup &setup)
{
    auto device = gloo::transport::tcp::CreateDevice(setup.address);
    auto tcp = device->createContext(setup.rank, setup.world);
    /* A pair waits five times its time limit for the other end to connect. */
    tcp->setTimeout(milliseconds(std::max(setup.timeout_ms / 5, 1U)));
    auto mesh = std::make_shared<Mesh>(setup, tcp);
    for (int i = 0; i < setup.world; i++)
        if (i != setup.rank)
            mesh->createPair(i);
    return std::make_shared<Group>(mesh, device);
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

    mesh->why_lost = *why;
    mesh->lost = true;
    guard(nullptr, nullptr, [&] { mesh->wake(); });
}

/* From here on a rank that goes ends what waits for it. */
void watch_peers(Mesh &mesh, const wsl_peers_address &zero)
{
    wsl_watch *watch = nullptr;
    wsl_err err = {};
    int r;

    while ((r = wsl_peers_connect(mesh.peers.get(), &zero, &err)) > 0) {
        mesh.check();
        std::this_thread::sleep_for(milliseconds(1));
    }
    require(r, err);
    require(wsl_watch_start(&watch, mesh.peers.release(), on_lost, &mesh, &err), err);
    mesh.watch.reset(watch);
}

/* What a rank has for another: where that one's pair listens, then rank 0's address for the watch.
 */
void connect(Mesh &mesh)
{
    const size_t pair = mesh.getPair(mesh.rank == 0 ? 1 : 0)->address().bytes().size();
    const size_t each = pair + sizeof(wsl_peers_address);
    std::vector<char> ours(each * (size_t)mesh.size), theirs(ours.size());
    wsl_peers_address zero = {};
    wsl_peers *peers = nullptr;
    wsl_err err = {};

    require(wsl_peers_open(&peers, mesh.rank, mesh.size, mesh.setup.address, &zero, &err), err);
    mesh.peers.reset(peers);
    for (int i = 0; i < mesh.size; i++) {
        char *at = &ours[each * (size_t)i];
        if (i != mesh.rank)
            std::copy_n(mesh.getPair(i)->address().bytes().data(), pair, at);
        memcpy(at + pair, &zero, sizeof(zero));
    }
    require(wsl_collective_all_to_all(&mesh.setup, ours.data(), each, theirs.data(), &err), err);
    for (int i = 0; i < mesh.size; i++) {
        auto at = theirs.begin() + (ptrdiff_t)(each * (size_t)i);
        if (i == mesh.rank)
            continue;
        mesh.connecting = i;
        mesh.talk(i,
                  [&] { mesh.getPair(i)->connect(std::vector<char>(at, at + (ptrdiff_t)pair)); });
    }
    memcpy(&zero, &theirs[pair], sizeof(zero));
    watch_peers(mesh, zero);
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
            wsl_wire_add(static_cast<const uint16_t *>(a)[i], static_cast<const uint16_t *>(b)[i]);
}

template <typename T>
void sum(std::shared_ptr<Group> group, void *data, size_t count)
{
    gloo::AllreduceOptions options(group);

    options.setAlgorithm(gloo::AllreduceOptions::Algorithm::RING);
    options.setOutput(static_cast<T *>(data), count);
    options.setReduceFunction(&add<T>);
    gloo::allreduce(options);
}

int group_create(void **ret, const wsl_collective_setup *setup, wsl_err *err)
{
    return guard(nullptr, err, [&] { *ret = new Instance(make(*setup)); });
}

int group_join(void *self, wsl_err *err)
{
    Mesh *mesh = (*static_cast<Instance *>(self))->mesh.get();
    return guard(mesh, err, [&] { connect(*mesh); });
}

int group_sum(void *self, void *data, size_t count, wsl_sum_type type, wsl_err *err)
{
    auto group = *static_cast<Instance *>(self);
    return guard(group->mesh.get(), err, [&] {
        type == WSL_SUM_F32   ? sum<float>(group, data, count)
        : type == WSL_SUM_F64 ? sum<double>(group, data, count)
                              : sum<uint16_t>(group, data, count);
    });
}

int group_broadcast(void *self, void *data, size_t bytes, int root, wsl_err *err)
{
    auto group = *static_cast<Instance *>(self);
    return guard(group->mesh.get(), err, [&] {
        gloo::BroadcastOptions options(group);
        options.setOutput(static_cast<char *>(data), bytes);
        options.setRoot(root);
        gloo::broadcast(options);
    });
}

void group_abort(void *self)
{
    Mesh *mesh = (*static_cast<Instance *>(self))->mesh.get();

    mesh->aborted = true;
    guard(nullptr, nullptr, [&] { mesh->wake(); });
}

/* Resets the connections. Each takes up to 10 ms, one turn of the device's loop. */
void group_leave(void *self)
{
    Mesh *mesh = (*static_cast<Instance *>(self))->mesh.get();
    mesh->watch.reset(); /* first: tells them who is the one that is gone */
    mesh->peers.reset();
    guard(nullptr, nullptr, [&] {
        for (int i = 0; i < mesh->size; i++)
            if (i != mesh->rank)
                mesh->getPair(i)->close();
    });
}

void group_destroy(void *self)
{
    delete static_cast<Instance *>(self);
}

} // namespace

extern "C" const wsl_collective_implementation wsl_collective_gloo = {
    "gloo",    nullptr, nullptr,         nullptr,     nullptr,     group_create,  group_join,
    group_sum, nullptr, group_broadcast, group_abort, group_leave, group_destroy,
};
